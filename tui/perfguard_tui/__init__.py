"""The dashboard in the terminal: reads events, live or recorded, and shows them; knows no pytest and no suite."""
