"""Hold code that goes, as text, into the files that kopt writes; kopt itself runs none of it."""
