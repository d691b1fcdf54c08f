"""Data sets as rows of text: reading, splitting, contamination, statistics. Streams; knows no role and no grpc."""
