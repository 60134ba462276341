collect_ignore = [  # scripts, not modules with doctests
    "helpers/torch_reference.py",
    "before_folders/make.py",
    "training/own_fit_worker.py",
]
