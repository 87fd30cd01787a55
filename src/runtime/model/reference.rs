//! candle-transformers' decoders behind one face: what the tests compare with and the benchmark measures against.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::{quantized_llama, quantized_qwen2};

use super::ModelError;
use super::gguf::GgufFile;

/// One sequence at a time; its keys and values are kept inside the layers.
pub struct ReferenceDecoder {
    model: Model,
    device: Device,
}

enum Model {
    Qwen2(quantized_qwen2::ModelWeights),
    Llama(quantized_llama::ModelWeights),
}

impl ReferenceDecoder {
    pub fn load(path: &Path, device: &Device) -> Result<Self, ModelError> {
        let architecture = GgufFile::open(path)?.architecture()?.to_owned();
        let file = File::open(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
        let mut reader = BufReader::new(file);
        let content = Content::read(&mut reader)?;
        let model = match architecture.as_str() {
            "qwen2" => Model::Qwen2(quantized_qwen2::ModelWeights::from_gguf(content, &mut reader, device)?),
            "llama" => Model::Llama(quantized_llama::ModelWeights::from_gguf(content, &mut reader, device)?),
            _ => return Err(ModelError::UnsupportedArchitecture(architecture)),
        };
        Ok(Self { model, device: device.clone() })
    }

    /// Logits of the last of `tokens`, which stand at positions from `start`; a `start` of 0 begins a new sequence.
    pub fn forward(&mut self, tokens: &[u32], start: usize) -> Result<Vec<f32>, ModelError> {
        let tokens = Tensor::new(tokens, &self.device)?.unsqueeze(0)?;
        let logits = match &mut self.model {
            Model::Qwen2(model) => model.forward(&tokens, start)?,
            Model::Llama(model) => model.forward(&tokens, start)?,
        };
        Ok(logits.squeeze(0)?.to_vec1()?)
    }
}
