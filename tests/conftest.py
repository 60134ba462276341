collect_ignore = ["helpers/torch_reference.py", "before_folders/make.py"]  # scripts, not modules with doctests
