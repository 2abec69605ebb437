"""Read problems in several formats, one module each: the module's `FORMAT` names the files and reads them."""
