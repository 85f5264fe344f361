"""Floor 5: what is kept in SQLite files. It knows no net."""
