"""Audit sinks: file, stdout, syslog, splunk, elasticsearch. Each is an entry point of its own, in the module
of its name; see README.md beside this file."""
