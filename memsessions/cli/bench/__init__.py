"""`bench`: what a store does from this machine.

`command` is the command, `workload` what is called, `measuring` how that is timed, `report` how it is shown.
"""
