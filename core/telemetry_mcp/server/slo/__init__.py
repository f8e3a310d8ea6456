"""Objectives judged: what is asked, what it comes to slice by slice, where it stands, and that in words."""
