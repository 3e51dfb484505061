"""Reports: one file per output. Each reads the run document and writes; none measures or decides."""
