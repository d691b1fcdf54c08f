"""The report of a run as one HTML file: read from the store, drawn, and written. It changes nothing."""
