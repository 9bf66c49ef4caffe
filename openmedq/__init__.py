"""OpenMedQ: broad open pretraining for medical vision-language models, from published files to scores."""

from openmedq.silence import silence

silence()
