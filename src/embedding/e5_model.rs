//! The encoder of multilingual-e5-small: a BERT encoder with XLM-R's vocabulary, mean pooling and unit vectors.
//!
//! The texts of a batch lie one after the other in one `[tokens, hidden]` matrix, without padding. The matrix products
//! see the whole batch, attention sees one text; so a text's vector does not depend on what else is in the batch.

use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, IndexOp, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use super::TextKind;
use super::e5_file::{E5Config, E5File, E5FileError};
use super::gelu::bias_gelu;
use super::unigram::UnigramTokenizer;

/// Why the encoder could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum E5Error {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: E5FileError },
    #[error("encoder: {0}")]
    Compute(#[from] candle_core::Error),
}

/// A loaded encoder. The embedding table stays in 4 bits (54 MB); the layers are f32 (85 MB), because candle's f32
/// matrix product is twice as fast as its Q4_0 one on the batches that occur here.
pub struct E5Model {
    config: E5Config,
    tokenizer: UnigramTokenizer,
    device: Device,
    words: QTensor,
    /// Position and token type embeddings, added: `[positions, hidden]`.
    positions: Tensor,
    embedding_norm: Norm,
    layers: Vec<Layer>,
}

impl E5Model {
    /// Reads an `E5S1` file (see `e5_file`). Blocks for as long as reading 70 MB takes.
    pub fn load(path: &Path, device: &Device) -> Result<Self, E5Error> {
        let data = std::fs::read(path).map_err(|source| E5Error::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&data, device).map_err(|error| match error {
            LoadError::File(source) => E5Error::File { path: path.to_owned(), source },
            LoadError::Compute(error) => E5Error::Compute(error),
        })
    }

    fn from_bytes(data: &[u8], device: &Device) -> Result<Self, LoadError> {
        let file = E5File::parse(data)?;
        let config = file.config.clone();
        let hidden = config.hidden;
        let source = Source { file: &file, device };
        let types = file.f32s("emb.type", config.token_types * hidden)?;
        let type_zero = Tensor::from_slice(&types[..hidden], hidden, device)?;
        let positions = source.matrix("emb.pos", config.positions, hidden)?.broadcast_add(&type_zero)?;
        let words = source.quantized(&["emb.word"], config.vocabulary, hidden)?;
        let embedding_norm = source.norm("emb.ln", hidden, config.epsilon)?;
        let layers =
            (0..config.layers).map(|index| source.layer(index, &config)).collect::<Result<Vec<_>, LoadError>>()?;
        let tokenizer = UnigramTokenizer::new(file.tokenizer);
        // CUDA's queue of commands is the thread's own: what this thread queued must be done before another one computes.
        device.synchronize()?;
        Ok(Self { config, tokenizer, device: device.clone(), words, positions, embedding_norm, layers })
    }

    /// Length of the vectors.
    pub fn dimensions(&self) -> usize {
        self.config.hidden
    }

    /// The token ids of a text with its prefix and marks, cut at the model's length (512).
    pub fn tokenize(&self, kind: TextKind, text: &str) -> Vec<u32> {
        let prefix = match kind {
            TextKind::Query => "query: ",
            TextKind::Passage => "passage: ",
        };
        self.tokenizer.encode(&format!("{prefix}{text}"), self.config.positions)
    }

    /// One unit vector per token sequence of [`Self::tokenize`]. Time and memory grow with the sum of their lengths.
    pub fn encode(&self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, E5Error> {
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let ids = sequences.concat();
        let positions: Vec<u32> = sequences.iter().flat_map(|sequence| 0..sequence.len() as u32).collect();
        let spans: Vec<(usize, usize)> = sequences
            .iter()
            .scan(0, |start, sequence| {
                let span = (*start, sequence.len());
                *start += sequence.len();
                Some(span)
            })
            .collect();
        let words = self.words.embedding(&Tensor::new(ids, &self.device)?)?;
        let positions = self.positions.index_select(&Tensor::new(positions, &self.device)?, 0)?;
        let mut hidden = self.embedding_norm.forward(&(words + positions)?)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden, &spans, self.config.heads)?;
        }
        let pooled = spans.iter().map(|&(start, length)| hidden.narrow(0, start, length)?.mean(0));
        pooled.map(|vector| Ok(unit(vector?.to_vec1::<f32>()?))).collect()
    }
}

/// Scales to length 1; the zero vector stays what it is.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-6);
    vector.iter_mut().for_each(|value| *value /= length);
    vector
}

enum LoadError {
    File(E5FileError),
    Compute(candle_core::Error),
}

impl From<E5FileError> for LoadError {
    fn from(error: E5FileError) -> Self {
        Self::File(error)
    }
}

impl From<candle_core::Error> for LoadError {
    fn from(error: candle_core::Error) -> Self {
        Self::Compute(error)
    }
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl Norm {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        layer_norm(xs, &self.weight, &self.bias, self.epsilon)
    }
}

struct Linear {
    /// Transposed: `[inputs, outputs]`.
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        xs.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

struct Layer {
    /// Query, key and value in one product, so that the activations are quantized once.
    qkv: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    expand: Linear,
    contract: Linear,
    output_norm: Norm,
}

impl Layer {
    fn forward(&self, xs: &Tensor, spans: &[(usize, usize)], heads: usize) -> candle_core::Result<Tensor> {
        let qkv = self.qkv.forward(xs)?;
        let attended = spans
            .iter()
            .map(|&(start, length)| attend(&qkv.narrow(0, start, length)?, heads))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let attended = self.attention_output.forward(&Tensor::cat(&attended, 0)?)?;
        let xs = self.attention_norm.forward(&(xs + attended)?)?;
        let fed = self.contract.forward(&bias_gelu(&xs.matmul(&self.expand.weight)?, &self.expand.bias)?)?;
        self.output_norm.forward(&(xs + fed)?)
    }
}

/// Self-attention of one text: `[length, 3 * hidden]` to `[length, hidden]`.
fn attend(qkv: &Tensor, heads: usize) -> candle_core::Result<Tensor> {
    let (length, width) = qkv.dims2()?;
    let head = width / 3 / heads;
    // [3, heads, length, head]
    let qkv = qkv.reshape((length, 3, heads, head))?.permute((1, 2, 0, 3))?.contiguous()?;
    let (q, k, v) = (qkv.i(0)?, qkv.i(1)?, qkv.i(2)?);
    let scores = (q.matmul(&k.t()?)? * (1.0 / (head as f64).sqrt()))?;
    softmax_last_dim(&scores)?.matmul(&v)?.transpose(0, 1)?.reshape((length, heads * head))
}

/// Builds the parts from the file's tensors.
struct Source<'a> {
    file: &'a E5File<'a>,
    device: &'a Device,
}

impl Source<'_> {
    fn vector(&self, name: &str, length: usize) -> Result<Tensor, LoadError> {
        Ok(Tensor::from_vec(self.file.f32s(name, length)?, length, self.device)?)
    }

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Tensor, LoadError> {
        Ok(Tensor::from_vec(self.file.f32s(name, rows * columns)?, (rows, columns), self.device)?)
    }

    /// Matrices of `rows x columns` each, stacked.
    fn quantized(&self, names: &[&str], rows: usize, columns: usize) -> Result<QTensor, LoadError> {
        let parts = names
            .iter()
            .map(|name| self.file.q4_blocks(name, rows, columns))
            .collect::<Result<Vec<_>, E5FileError>>()?;
        let bytes = parts.concat();
        let storage = QStorage::from_data(bytes.into(), self.device, GgmlDType::Q4_0)?;
        Ok(QTensor::new(storage, (rows * names.len(), columns))?)
    }

    fn norm(&self, name: &str, length: usize, epsilon: f32) -> Result<Norm, LoadError> {
        let weight = self.vector(&format!("{name}.w"), length)?;
        Ok(Norm { weight, bias: self.vector(&format!("{name}.b"), length)?, epsilon })
    }

    fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Linear, LoadError> {
        let weight = self.quantized(&[&format!("{name}.w")], outputs, inputs)?.dequantize(self.device)?.t()?;
        Ok(Linear { weight, bias: self.vector(&format!("{name}.b"), outputs)? })
    }

    fn layer(&self, index: usize, config: &E5Config) -> Result<Layer, LoadError> {
        let (hidden, feed_forward, epsilon) = (config.hidden, config.feed_forward, config.epsilon);
        let name = |part: &str| format!("l{index}.{part}");
        let weights = [name("q.w"), name("k.w"), name("v.w")];
        let weights = self.quantized(&weights.each_ref().map(String::as_str), hidden, hidden)?;
        let biases = ["q.b", "k.b", "v.b"].map(|part| self.vector(&name(part), hidden));
        let biases = biases.into_iter().collect::<Result<Vec<_>, LoadError>>()?;
        Ok(Layer {
            qkv: Linear { weight: weights.dequantize(self.device)?.t()?, bias: Tensor::cat(&biases, 0)? },
            attention_output: self.linear(&name("ao"), hidden, hidden)?,
            attention_norm: self.norm(&name("aln"), hidden, epsilon)?,
            expand: self.linear(&name("fi"), feed_forward, hidden)?,
            contract: self.linear(&name("fo"), hidden, feed_forward)?,
            output_norm: self.norm(&name("oln"), hidden, epsilon)?,
        })
    }
}
