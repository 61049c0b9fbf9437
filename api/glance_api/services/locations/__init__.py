"""Where the data of an image are: shown, edited, checked."""
