"""Sample data that ships with labelspace."""
