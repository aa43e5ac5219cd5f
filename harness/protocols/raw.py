"""Protocols in which the body travels as it is: our own, TorchServe's, SageMaker's.

Sources: TorchServe's inference API (POST /predictions/{model}, GET /ping); SageMaker's contract for a container (POST
/invocations, GET /ping).
"""

from harness.protocols.codec import Codec, same_type, unchanged, unchanged_answer

JSON = Codec("json", same_type, lambda _model: "/predict", unchanged, unchanged_answer)
TORCHSERVE = Codec("torchserve", same_type, lambda model: f"/predictions/{model}", unchanged, unchanged_answer,
                   ready=lambda _model: "/ping")
SAGEMAKER = Codec("sagemaker", same_type, lambda _model: "/invocations", unchanged, unchanged_answer,
                  ready=lambda _model: "/ping")
