"""One image in, one 3D object out, in a notebook.

>>> import image3d_nb as i3d
>>> image = i3d.load_image(i3d.sample("mug"))
>>> pipe = i3d.load_pipeline()
>>> result = pipe(image, generator=i3d.generator(0))
>>> i3d.show(result.gaussians)

Importing the package loads no large library: each public name is imported when it is first used. The names, with their
types, are listed in ``__init__.pyi``.
"""

__version__ = "0.1.0"

try:
    import lazy_loader
except ModuleNotFoundError:  # the doctor still runs and names every missing package

    def __getattr__(name):
        raise ImportError(
            f"image3d_nb.{name} needs lazy_loader, which is missing: pip install lazy-loader, or let "
            "`python -m image3d_nb doctor` list all that is missing"
        )
else:
    __getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
