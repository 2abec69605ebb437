"""What commands are made of: words of the command line that several share, and work that fills a module of its own."""
