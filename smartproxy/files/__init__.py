"""Files that change while the proxy runs: noticing a change, whatever the files contain.

``states`` tells whether a file has changed, ``inotify`` is told by the kernel, and ``watch`` polls, waits until a change has
settled, and reports it. Certificates (:mod:`smartproxy.tls.watcher`) and address lists use it.
"""
