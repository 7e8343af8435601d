"""How a question about the paper is declared and found, and what the paper reports."""
