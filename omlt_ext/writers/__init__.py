"""Networks and their input boxes as files."""
