"""Networks whose features sets of images are compared by, in plain torch; weights come from files the user names."""
