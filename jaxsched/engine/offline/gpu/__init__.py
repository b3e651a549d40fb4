"""Disciplines as GPU kernels: a program an instance, which one warp runs."""
