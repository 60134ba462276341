collect_ignore = ["torch_reference.py"]  # a script that needs torch, not a module with doctests
