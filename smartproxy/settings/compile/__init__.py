"""From valid settings to the plan of the proxy, with the files and handlers that they refer to."""
