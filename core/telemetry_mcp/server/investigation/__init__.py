"""From a page to the likely cause: what is asked, what it comes to, what each claim rests on, in words."""
