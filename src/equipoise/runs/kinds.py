"""Which games and data a recipe file can name."""

from equipoise.runs.generating_games import (
    AaeSettings,
    CoganSettings,
    LapganSettings,
    SganSettings,
    VaeganSettings,
)
from equipoise.runs.multitasking import MultitaskSettings, TasksData
from equipoise.runs.paired import Pix2PixSettings
from equipoise.runs.parts import Conditional, Digits, Files, Gan, Hub, Stack, Toy
from equipoise.runs.restoring import DenoisingSettings, InpaintingSettings, PicturesData, Srgan
from equipoise.runs.styling import AdainSettings, PatchStyleSettings, StyledData, StyleSettings
from equipoise.runs.techniques import Part
from equipoise.runs.translating import CutSettings, CycleGANSettings, UnpairedData

GAME_KINDS: dict[str, type[Part]] = {
    "gan": Gan,
    "conditional": Conditional,
    "srgan": Srgan,
    "inpainting": InpaintingSettings,
    "denoising": DenoisingSettings,
    "pix2pix": Pix2PixSettings,
    "multitask": MultitaskSettings,
    "cyclegan": CycleGANSettings,
    "cut": CutSettings,
    "style": StyleSettings,
    "adain": AdainSettings,
    "patch-style": PatchStyleSettings,
    "sgan": SganSettings,
    "cogan": CoganSettings,
    "lapgan": LapganSettings,
    "vaegan": VaeganSettings,
    "aae": AaeSettings,
}
DATA_KINDS: dict[str, type[Part]] = {
    "digits": Digits,
    "files": Files,
    "hub": Hub,
    "mixture": Toy,
    "stacked": Stack,
    "pictures": PicturesData,
    "tasks": TasksData,
    "unpaired": UnpairedData,
    "styled": StyledData,
}
