"""The quick kernel as one GPU kernel: a program a stream, whose seats are registers of a warp."""
