"""dataset_builder: recorded answers in; a scored, guarded, split data set out."""
