"""The code with one rule taken out at a time: the suite must notice each (`python -m tests.mutants`)."""
