"""Every field of a configuration: meaning, unit, allowed values.

The other files change a few of these. Values are literals, and none is None or
a list (the command line could not override these): '' or 0 is absent, sequences
are tuples, fractions are floats. `edjax/config/` checks all fields and chooses
values where 0 asks for it.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """Returns the embedded molecules, density input, a small residual network."""
  config = ConfigDict()

  config.data = data = ConfigDict()
  # 'qm9_mini' (embedded, no download), 'qm9', 'molecules' or 'complexes' (of
  # your own files), 'pdbbind' (complexes) or 'pdbbind_ligands' (ligands as
  # bound there, without proteins).
  data.name = 'qm9_mini'
  # Directory of built datasets and packs; with --beam also an address (gs://,
  # s3://), to which the dataset is written.
  data.data_dir = '~/.cache/edjax'
  # Directory of downloaded archives ('': <data_dir>/manual).
  data.manual_dir = ''
  # For molecules and complexes: your file or folder (docs/own_molecules.md,
  # docs/datasets.md).
  data.source = ''
  # For molecules: names of the columns of ids (for complexes, too), SMILES,
  # total charge and number of unpaired electrons; '': those with usual names,
  # where there are some.
  data.id_column = ''
  data.smiles_column = ''
  data.charge_column = ''
  data.unpaired_column = ''
  # For molecules and complexes, with split='column': the column that holds
  # train, validation or test.
  data.split_column = ''
  # 'random', 'size' (train on small molecules, test on the largest), 'file';
  # for qm9 also the published 'cormorant' and 'dimenet'; for molecules also
  # 'scaffold' (Bemis-Murcko) and 'column' (split_column); for complexes and
  # pdbbind 'random', 'file', 'clusters' (k-fold over clusters of protein
  # sequences), 'time' (by year) and 'published' (a file or folder from its
  # authors), and 'column' or 'refined_core'.
  data.split = 'random'
  # For 'file': a json with lists of ids named train, validation, test. For
  # 'published': LP_PDBBind.csv, CleanSplit's json, or a folder of id lists
  # (ATOM3D, DiffDock, GIGN); see data_builders/pdbbind/README.md.
  data.split_file = ''
  # For 'clusters': number of folds, and the one, from 0, that is the test set;
  # the next one is the validation set.
  data.folds = 5
  data.fold = 0
  # For 'time': the first year of the test set.
  data.split_year = 2016
  # For 'random', 'scaffold' and 'size': shares of validation and of test; the
  # rest is training ('size' takes its test set by size, and ignores the second
  # share).
  data.validation_fraction = 0.1
  data.test_fraction = 0.2
  # GiB above which the padded molecules of a part are read from the pack batch
  # by batch, for datasets larger than memory; the batches are the same.
  data.memory_gib = 8.0
  # Names of the columns to learn, see edjax/datasets.py. A missing value (NaN)
  # counts neither in the loss nor in errors, and a molecule without any is left
  # out.
  data.targets = ('gap', 'homo', 'lumo', 'mu', 'r2', 'atomization')
  # Where the targets are columns of your own files: a unit for each target, of
  # the files and of the reports; (): none.
  data.units = ()
  # Training molecules: a fraction up to 1, a whole number above. Subsets of one
  # subset_seed are nested.
  data.train_size = 1.0
  # Seed of the training subsets alone.
  data.subset_seed = 0
  # 0: validate on the validation part of the split. Above 0 (at most 0.5),
  # train_size counts all labels of a run. They are drawn from the training and
  # validation parts of the split together; this share of them (at least one)
  # validates, and the rest trains. Both sets are nested.
  data.validation_share = 0.0
  # Largest number of validation and of test molecules, drawn by data.seed (0:
  # all; with a validation_share, of test molecules alone). For quick runs.
  data.max_eval = 0
  # Seed of the split, of max_eval and of shuffle_labels.
  data.seed = 0
  # For complexes: atoms that the network sees, of 'ligand', 'pocket' or both.
  data.parts = ('ligand', 'pocket')
  # For complexes: keep the hydrogens of the files. Only some sources of files
  # have them, which a network can learn.
  data.hydrogens = False
  # For qm9, qm9_mini and molecules: the 'published' geometry (of molecules: as
  # in the file, or made of SMILES), relaxed with 'gfn2', or with
  # Gaussian 'noise' of this standard deviation in each coordinate, Å. xTB is
  # run there; the labels stay.
  data.geometry = 'published'
  data.noise = 0.0
  # Origin of each molecule's frame, about which it is rotated: the centre of
  # 'valence' charge (the default), where the first moment of a valence density
  # is the dipole moment, or of 'mass'; for complexes 'ligand', the centre of
  # mass of its heavy atoms. '': the default.
  data.origin = ''
  # A control: labels are shuffled within training and within validation.
  data.shuffle_labels = False
  # Learn the difference to a ridge regression: on the 'composition' (of
  # complexes: of the ligand), or on it and 'gfn2' energy, dipole and orbital
  # energies; or to a kernel ridge regression on these, 'gfn2_kernel'; '' for
  # none.
  data.delta = ''
  # For pdbbind: download files that the manual directory lacks from the wwPDB,
  # and maps from PDBe: thousands of files for a full index.
  data.download = False
  # For pdbbind: the unit of a table's affinities where its header names none:
  # 'pK' (-log10 of mol/l), 'M', 'mM', 'uM', 'nM', 'pM' or 'fM'; '' refuses it.
  data.affinity_unit = ''
  # For complexes: those whose index states a pK and an affinity that differ by
  # more, in pK, are left out.
  data.max_pk_difference = 0.5
  # For pdbbind and complexes: shortest distance, Å, between heavy atoms of
  # ligand and pocket, and largest number of the ligand's heavy atoms within 2 Å
  # of the pocket's, metals aside (a covalent ligand has one or two). Complexes
  # beyond these are left out with the reason; 0 and a large number keep all.
  data.min_contact = 1.2
  data.max_clashes = 2
  # For density='map': whether CCP4 and MRC maps are of crystals ('yes') or end
  # with their box ('no'); '': as files and models say, and a map is left out if
  # they do not. A cube ends with its box, unless it is 'yes'.
  data.map_periodic = ''
  # For density='map': names of amplitudes and phases in MTZ files, such as
  # ('FC', 'PHIC'); (): those that common programs give 2Fo-Fc maps.
  data.map_columns = ()
  # For density='map', limits beyond which records are left out: the smallest
  # share of the asymmetric unit with data;
  data.min_map_coverage = 0.9
  # the largest share without, of the cube about the ligand or, of molecules, of
  # the space near their atoms;
  data.max_map_missing = 0.1
  # the smallest mean at the atoms (of ligand and pocket), sd (-10 allows any).
  data.min_map_at_atoms = 0.5
  # Processes of a dataset build; 0: one per core.
  data.workers = 0

  config.representation = representation = ConfigDict()
  # Any of 'atoms', 'density', 'gradient', 'shape', 'valence' (all atoms in one
  # channel, as Gaussians weighted by valence electrons), 'homo' and 'lumo' (of
  # one electron each, of qm9 and qm9_mini), of the xTB orbitals 'potential'
  # (electrostatic, V), 'tau' (kinetic energy density) and 'elf' (electron
  # localisation function), and 'noise', in the order of the network's channels.
  # From Python also pure functions f(mol, grid, supersample) -> [X, Y, Z]. The
  # configuration keeps only their names, so that different functions need
  # different names.
  representation.channels = ('density',)
  # Source of 'density' and 'gradient': 'xtb', 'promolecule' (IT92, all
  # electrons, blurred), 'free_atoms' (GFN2's valence, as sharp as 'xtb'),
  # 'deformation' (xtb minus free_atoms), 'charge' (smeared nuclei minus xtb,
  # whose first moment is the dipole moment), 'all_electron' (xtb and blurred
  # cores); for pdbbind and complexes also 'map' (experimental, in sigma), and
  # for molecules 'map' (cubes of your own files, in e/Å^3, or maps in sigma).
  representation.density = 'xtb'
  # Voxels along an edge, and the edge of a voxel in Å.
  representation.grid_size = 24
  representation.spacing = 0.5
  # Sub-points along an edge of a voxel over which fields are averaged.
  representation.supersample = 2
  # B factor of the promolecule's atoms, and of the cores of 'all_electron', in
  # Å^2; 0 ties it to the spacing.
  representation.b_iso = 0.0
  # Standard deviation in Å of a Gaussian blur of every channel, 0: none. The
  # gradient is that of the blurred density.
  representation.smooth = 0.0
  # Whether the promolecule adds the B factors of the files. Some sources set
  # them to 0, which a network can learn.
  representation.use_b_factors = False
  # For complexes: ligand and pocket in separate channels.
  representation.groups = False
  # Elements that get an atoms channel each; 'metals' stands for all metals not
  # listed, and the rest shares 'other'.
  representation.elements = ('H', 'C', 'N', 'O', 'F')
  # Atoms as 0 or 1 within a radius, as older recipes have them, instead of
  # Gaussians.
  representation.binary = False
  # Gaussians of 'atoms' and 'valence' that end, as libmolgrid's do: beyond 2
  # standard deviations a parabola that is 0 from 3 on.
  representation.truncated = False
  # One radius for every atom of 'shape', Å; 0: van der Waals radii.
  representation.shape_radius = 0.0
  # Standard deviations: 'atoms', of the Gaussians of 'atoms' and 'valence' in Å
  # (the radius where binary); 'shape', in radii.
  representation.widths = ConfigDict({'atoms': 0.5, 'shape': 0.5})
  # By kind of channel, the function of its values that a voxel holds the mean
  # of: 'none', 'log1p', 'arcsinh', 'power:p' (sign(x) |x|^p; also 4/3) or
  # 'bins:n' (n soft bins of log x, a channel each), or several joined by '+'.
  # Values are divided before by the kind's root mean square over the first
  # training molecules. 'arcsinh' for functions of your own.
  representation.transforms = ConfigDict(
    {'atoms': 'none', 'density': 'none', 'gradient': 'arcsinh',
     'shape': 'none', 'valence': 'none', 'potential': 'none',
     'tau': 'arcsinh', 'elf': 'none', 'noise': 'none'}
  )  # fmt: skip

  config.augment = augment = ConfigDict()
  # A uniform random rotation for every example and step, and at evaluation.
  augment.rotate = True
  # Uniform random shift along each axis up to this, Å, as often. Half a voxel
  # lets a network see every place of an atom between voxels.
  augment.translate = 0.0

  config.model = model = ConfigDict()
  # 'resnet3d', 'cnn3d' (ATOM3D's recipe; of the fields below it takes dtype
  # alone) or 'moments' (no convolutions: the head on the input's moments).
  model.name = 'resnet3d'
  # Channels of each stage (each halves the grid), and residual blocks in it.
  model.widths = (16, 32, 64)
  model.blocks = (1, 1, 1)
  # Features of a voxel that each stage sums over the grid, for the head.
  model.local = 64
  # 'isotropic' (weights depend on distance alone) or 'free'.
  model.kernels = 'isotropic'
  # Edge of the blocks of voxels that become channels at the start; 1: none.
  model.stem = 2
  # Whether the convolutions see powers of the input beside it.
  model.input_powers = True
  # Whether the head also sees sums and moments of powers of the whole input.
  model.input_moments = False
  # Width and dropout of the head's hidden layer.
  model.head_width = 128
  model.dropout = 0.1
  # Arithmetic of the network: 'float32' or 'bfloat16'; parameters and sums are
  # float32.
  model.dtype = 'float32'

  config.optim = optim = ConfigDict()
  # 'muon' (with AdamW for all but matrices) or 'adamw'.
  optim.name = 'muon'
  # 'mse', 'mae' or 'huber', of standardised targets; 'log_loss' where all
  # targets are classes, 0 and 1: predictions are probabilities of 1.
  optim.loss = 'huber'
  # Peak of the schedule; the share of the steps that warms up to it; the share
  # of the peak at the end (cosine in between).
  optim.learning_rate = 3e-3
  optim.warmup_fraction = 0.05
  optim.final_fraction = 0.01
  # Decoupled weight decay, of kernels alone.
  optim.weight_decay = 1e-4
  # Decay of AdamW's averages of the gradient and of its square, below 1.
  optim.b1 = 0.9
  optim.b2 = 0.999
  # Largest global norm of a gradient.
  optim.clip_norm = 1.0
  # Steps in a row that are skipped, and counted, where loss or gradient is not
  # finite. 0: the first such step ends the run.
  optim.skip_nonfinite = 0
  # Decay of the average of the weights that evaluation uses; below 1.
  optim.ema_decay = 0.999

  config.train = train = ConfigDict()
  # Examples per step, over all devices.
  train.batch_size = 16
  # Optimisation steps in all; the schedule of the learning rate ends there.
  train.steps = 1600
  # Steps in one call of the compiled program; 0: 1 on CPU (where XLA's loops
  # are slow), up to 20 on accelerators.
  train.steps_per_call = 0
  # Steps between evaluations on validation, and between checkpoints
  # (improvements are saved as well); multiples of steps_per_call.
  train.eval_every = 400
  train.checkpoint_every = 200
  # Averaged weights that are evaluated: 'best' on validation, or 'last'.
  train.weights = 'best'
  # Evaluations without improvement after which training stops; 0: never.
  train.patience = 0
  # GiB up to which training examples stay on the device; larger sets are sent
  # batch by batch.
  train.device_data_gib = 8.0
  # Seed of initialisation, order, augmentation and dropout.
  train.seed = 0

  config.eval = evaluation = ConfigDict()
  # Random rotations averaged at the final evaluation.
  evaluation.rotations = 8
  # Examples per batch, over all devices.
  evaluation.batch_size = 64
  # Resamples of the bootstrap intervals.
  evaluation.bootstrap = 2000
  return config
