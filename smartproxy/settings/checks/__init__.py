"""Everything that makes a configuration invalid, the settings that look like mistakes, and the lines that report both."""
