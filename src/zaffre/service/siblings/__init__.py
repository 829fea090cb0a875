"""Several gateway processes on one port: the first leads, its siblings follow its fleet."""
