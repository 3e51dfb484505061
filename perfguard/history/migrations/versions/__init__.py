"""One file per revision of the schema, named after it. A new one also moves `perfguard.history.database.HEAD`."""
