"""`python -m keras_resnet` is the command `keras-resnet`."""

from keras_resnet.cli import main

main(prog_name="keras-resnet")
