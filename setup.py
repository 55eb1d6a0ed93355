"""The extension, which pyproject.toml cannot describe yet; all else about the project is there."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "service.runtime._hot_path",
            ["service/runtime/_hot_path.c"],
            # Debugging information would name the folder of the build; the wheel is the same wherever it is built.
            extra_compile_args=["-O2", "-g0"],
            optional=True,  # without a compiler the service does the same in Python
        )
    ]
)
