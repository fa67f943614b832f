import sys
from pathlib import Path

# `bench` is not installed, and pytest alone does not look where it was started.
sys.path.append(str(Path(__file__).parents[2]))
