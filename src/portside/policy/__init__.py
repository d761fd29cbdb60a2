"""Who may come in and for how long. Policies know no server: they are tables and numbers that servers consult."""
