"""Builds the fast datapath beside the Python package; pyproject.toml says everything else.

Without a Rust toolchain, or without its registry, the installation succeeds all the same and vxnet
uses its Python datapath, which `vxnet status` says. VXNET_REQUIRE_NATIVE=1 makes that an error.
"""

import os

from setuptools import setup
from setuptools_rust import Binding, RustExtension

setup(
    rust_extensions=[
        RustExtension(
            "vxnet._native",
            path="native/Cargo.toml",
            binding=Binding.PyO3,
            features=["python"],
            args=["--locked"],
            debug=False,  # an editable install is to be as fast as any other
            py_limited_api=True,
            optional=os.environ.get("VXNET_REQUIRE_NATIVE") != "1",
        )
    ],
)
