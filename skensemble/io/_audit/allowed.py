"""What a file may name without being trusted: classes of estimators, and what of Keras only computes."""

import re


def _by_module(table):
    """A table whose lines are names, separated by spaces, as sets of them."""
    return {module: frozenset(names.split()) for module, names in table.items()}


def _paths(table):
    return frozenset(f"{module}.{name}" for module, names in _by_module(table).items() for name in names)


# Architectures

#: Classes, by the module that Keras writes into a config, in Keras 3.8 to 3.15. A test requires each public symbol of
#: the installed Keras to be in one of these tables, or to be left out in the test, with the reason.
ALLOWED_CLASSES = _by_module(
    {
        "keras": "DTypePolicy FloatDTypePolicy Sequential",
        "keras.constraints": "MaxNorm MinMaxNorm NonNeg UnitNorm max_norm min_max_norm non_neg unit_norm",
        "keras.dtype_policies": """
            DTypePolicy DTypePolicyMap FloatDTypePolicy QuantizedDTypePolicy QuantizedFloat8DTypePolicy
        """,
        "keras.initializers": """
            Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer LecunNormal
            LecunUniform Ones Orthogonal OrthogonalInitializer RandomNormal RandomUniform STFT
            STFTInitializer TruncatedNormal VarianceScaling Zeros constant glorot_normal glorot_uniform
            he_normal he_uniform identity lecun_normal lecun_uniform ones orthogonal random_normal
            random_uniform stft truncated_normal variance_scaling zeros
        """,
        "keras.layers": """
            Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
            AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
            AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
            AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BatchNormalization Bidirectional
            CategoryEncoding CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D
            Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D
            Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D
            Convolution3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D
            DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten GRU
            GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
            GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D
            GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
            GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity InputLayer LSTM LSTMCell
            LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D
            MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp MultiHeadAttention
            Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
            RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
            RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
            RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
            RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
            ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D SeparableConvolution1D
            SeparableConvolution2D SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D
            SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells Subtract TimeDistributed
            UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D
            ZeroPadding3D
        """,
        "keras.losses": """
            BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy
            CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle
            CosineSimilarity Dice Hinge Huber KLDivergence LogCosh MeanAbsoluteError
            MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
            SparseCategoricalCrossentropy SquaredHinge Tversky
        """,
        "keras.metrics": """
            AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy
            CategoricalCrossentropy CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score
            FBetaScore FalseNegatives FalsePositives Hinge IoU KLDivergence LogCoshError Mean
            MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper MeanSquaredError
            MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation Poisson Precision
            PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError SensitivityAtSpecificity
            SparseCategoricalAccuracy SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy
            SpecificityAtSensitivity SquaredHinge Sum TopKCategoricalAccuracy TrueNegatives TruePositives
        """,
        "keras.models": "Sequential",
        "keras.optimizers": """
            Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer Muon Nadam
            RMSprop SGD ScheduleFreeAdamW
        """,
        "keras.optimizers.schedules": """
            CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
            PolynomialDecay
        """,
        "keras.quantizers": "AbsMaxQuantizer",
        "keras.random": "SeedGenerator",
        "keras.regularizers": "L1 L1L2 L2 OrthogonalRegularizer l1 l1_l2 l2 orthogonal_regularizer",
        "keras.src.models.functional": "Functional",
        "keras.src.ops.core": """
            Cast ConvertToTensor SaturateCast Scatter ScatterUpdate Slice SliceUpdate StopGradient Unstack
        """,
        "keras.src.ops.einops": "Rearrange",
        "keras.src.ops.image": """
            AffineTransform CropImages ElasticTransform ExtractPatches GaussianBlur HSVToRGB MapCoordinates
            PadImages PerspectiveTransform RGBToGrayscale RGBToHSV Resize SSIM ScaleAndTranslate SobelEdges
        """,
        "keras.src.ops.linalg": """
            Cholesky CholeskyInverse Det Eig Eigh Inv Lstsq LuFactor MatrixRank Norm Pinv Qr SVD Solve
            SolveTriangular
        """,
        "keras.src.ops.math": """
            CDist Erf Erfc Erfinv ExtractSequences FFT FFT2 IFFT2 IRFFT ISTFT InTopK Logdet Logsumexp RFFT
            Rsqrt STFT SegmentMax SegmentMin SegmentProd SegmentSum TopK ViewAsComplex ViewAsReal
        """,
        "keras.src.ops.nn": """
            AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm BinaryCrossentropy CTCDecode CTCLoss
            CategoricalCrossentropy Celu Conv ConvTranspose DepthToSpace DepthwiseConv DotProductAttention
            Elu Fold Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LayerNorm LeakyRelu LogSigmoid
            LogSoftmax MaxPool Moments MultiHot Normalize OneHot PSNR Polar RMSNorm Relu Relu6 Selu
            SeparableConv Sigmoid Silu SoftShrink Softmax Softplus Softsign SpaceToDepth
            SparseCategoricalCrossentropy SparsePlus SparseSigmoid Sparsemax Squareplus TanhShrink Threshold
            Unfold
        """,
        "keras.src.ops.numpy": """
            Abs Absolute Add All AllClose Amax Amin Angle Any Append Arccos Arccosh Arcsin Arcsinh Arctan
            Arctan2 Arctanh Argmax Argmin Argpartition Argsort Array ArraySplit Average Bincount BitwiseAnd
            BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor BroadcastTo
            Cbrt Ceil Clip Concatenate Conj Conjugate Copy Corrcoef Correlate Cos Cosh CountNonzero Cross
            Cumprod Cumsum Deg2rad Diag Diagflat Diagonal Diff Digitize Divide DivideNoNan Dot Dsplit Dstack
            Einsum EmptyLike Equal Exp Exp2 ExpandDims Expm1 Fabs Flip Fliplr Flipud Floor FloorDivide Fmax
            Fmin Fmod FullLike Gcd GetItem Greater GreaterEqual Heaviside Histogram Hsplit Hstack Hypot I0
            Imag Inner IsIn Isclose Isfinite Isinf Isnan Isneginf Isposinf Isreal Kron Lcm Ldexp LeftShift
            Less LessEqual Log Log10 Log1p Log2 Logaddexp Logaddexp2 LogicalAnd LogicalNot LogicalOr
            LogicalXor Matmul Max Maximum Mean Median Meshgrid Min Minimum Mod Moveaxis Multiply NanToNum
            Nanargmax Nanargmin Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin Nanpercentile Nanprod
            Nanquantile Nanstd Nansum Nanvar Ndim Negative Nextafter Nonzero NotEqual OnesLike Outer Pad
            Percentile Power Prod Ptp Quantile Rad2deg Ravel Real Reciprocal Repeat Reshape RightShift Roll
            Rot90 Round SearchSorted Select Sign Signbit Sin Sinc Sinh Size Slogdet Sort Split Sqrt Square
            Squeeze Stack Std Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh Tensordot Tile Trace
            Transpose Trapezoid Tril Triu TrueDivide Trunc Unique Vander Var Vdot View Vsplit Vstack Where
            ZerosLike
        """,
    }
)

#: Functions that are a config's activation, loss or metric.
ALLOWED_FUNCTIONS = _by_module(
    {
        "keras.activations": """
            celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
            linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
            softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
        """,
        "keras.losses": """
            binary_crossentropy binary_focal_crossentropy categorical_crossentropy
            categorical_focal_crossentropy categorical_generalized_cross_entropy categorical_hinge circle
            cosine_similarity ctc dice hinge huber kl_divergence log_cosh mean_absolute_error
            mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson
            sparse_categorical_crossentropy squared_hinge tversky
        """,
        "keras.metrics": """
            binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy
            categorical_crossentropy categorical_focal_crossentropy categorical_hinge
            concordance_correlation hinge huber kl_divergence log_cosh mean_absolute_error
            mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error
            pearson_correlation poisson sparse_categorical_accuracy sparse_categorical_crossentropy
            sparse_top_k_categorical_accuracy squared_hinge top_k_categorical_accuracy
        """,
    }
)

#: skensemble's own layers, by the names under which they are registered with Keras.
TRUSTED_LAYERS = frozenset(
    f"skensemble>{name}" for name in ("EmbedCategories", "InputColumns", "SelectColumns", "WeightedAverage")
)

#: Layers that run programs of other frameworks or from other files; no trust makes them loadable.
FORBIDDEN_LAYERS = {"FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"}

#: Layers whose vocabulary Keras keeps in files next to the variables.
LAYERS_WITH_FILES = {"IntegerLookup", "StringLookup", "TextVectorization"}

#: Modules of Keras whose functions have effects: they read and write files, change settings, import. As activations
#: they would be called when the model is loaded.
FORBIDDEN_MODULES = frozenset(
    """
    keras.applications keras.backend keras.callbacks keras.config keras.datasets keras.device keras.distribution
    keras.export keras.legacy keras.models keras.preprocessing keras.saving keras.tree keras.utils
    keras.visualization keras.wrappers
    """.split()
)

# Estimators

#: Classes of estimators, by the path under which they are written. Those that hold other estimators only combine what
#: these predict; what they hold is audited separately.
TRUSTED_CLASSES = _paths(
    {
        "imblearn.pipeline": "Pipeline",
        "scikeras.wrappers": "KerasClassifier KerasRegressor",
        "skensemble": """
            KerasAveragingClassifier KerasAveragingRegressor KerasClassifier KerasHeadClassifier
            KerasHeadRegressor KerasRegressor KerasVotingClassifier KerasVotingRegressor
            PolyakWeightClassifier PolyakWeightRegressor SnapshotEnsembleClassifier
            SnapshotEnsembleRegressor StackedKerasClassifier StackedKerasRegressor
        """,
        "skensemble.model_selection": "GridSearchCV HalvingGridSearchCV HalvingRandomSearchCV RandomizedSearchCV",
        "sklearn.calibration": "CalibratedClassifierCV _CalibratedClassifier",
        "sklearn.compose": "ColumnTransformer TransformedTargetRegressor",
        "sklearn.ensemble": """
            AdaBoostClassifier AdaBoostRegressor BaggingClassifier BaggingRegressor StackingClassifier
            StackingRegressor VotingClassifier VotingRegressor
        """,
        "sklearn.feature_selection": "RFE RFECV SelectFromModel SequentialFeatureSelector",
        "sklearn.frozen": "FrozenEstimator",
        "sklearn.model_selection": """
            FixedThresholdClassifier GridSearchCV HalvingGridSearchCV HalvingRandomSearchCV
            RandomizedSearchCV TunedThresholdClassifierCV
        """,
        "sklearn.multiclass": "OneVsOneClassifier OneVsRestClassifier OutputCodeClassifier",
        "sklearn.multioutput": "ClassifierChain MultiOutputClassifier MultiOutputRegressor RegressorChain",
        "sklearn.pipeline": "FeatureUnion Pipeline",
        "sklearn.semi_supervised": "SelfTrainingClassifier",
    }
)
#: Those of them that are not estimators: they have only attributes.
WITHOUT_PARAMS = frozenset(["sklearn.calibration._CalibratedClassifier"])

# scikit-learn parts

#: Packages whose types are trusted if skops trusts them, too: linear algebra on arrays that NumPy checks.
TRUSTED_PART_MODULES = re.compile(
    r"(sklearn\.(linear_model|preprocessing|calibration|isotonic|dummy|impute|compose|pipeline|frozen|decomposition"
    r"|feature_selection|discriminant_analysis|naive_bayes|random_projection|kernel_approximation|model_selection)"
    r"|numpy|builtins|scipy\.sparse|collections|functools)(\.|$)"
)
#: skops trusts estimators, but not splitters of cross-validation, which hold numbers only, types of arrays, which it
#: reads from an empty array, and the parts of calibrated estimators, which hold estimators that are audited too.
TRUSTED_PART_NAMES = _paths(
    {
        "numpy": "dtype",
        "skensemble.preprocessing": "TableEncoder",  # estimators of scikit-learn, texts and numbers
        "sklearn.calibration": "_CalibratedClassifier _SigmoidCalibration _TemperatureScaling",
        "sklearn.compose._column_transformer": "_RemainderColsList",  # scikit-learn 1.6: a list
        "sklearn.model_selection._split": """
            GroupKFold KFold LeaveOneOut RepeatedKFold RepeatedStratifiedKFold ShuffleSplit StratifiedKFold
            StratifiedShuffleSplit TimeSeriesSplit
        """,
        "sklearn.multiclass": "_ConstantPredictor",  # a number
    }
)
