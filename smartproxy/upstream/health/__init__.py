"""Active checks: is a target up, before a client has to find out.

``rise_and_fall`` counts results, ``checks`` asks a target once, ``checker`` asks one target again and again, and
``service`` keeps a checker for every target that is to be checked.
"""
