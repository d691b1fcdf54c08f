"""The teacher's stage: asks models about concepts until the data set has the records it wants."""
