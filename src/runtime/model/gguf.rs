//! Reading GGUF files: typed metadata and tensors, with refusals that name what is wrong.
//!
//! The header is parsed by candle; this module bounds what it may ask for and checks every tensor against the shape that
//! the architecture calls for, and against the file's end, before memory is reserved. The file is mapped: weights are
//! repacked straight out of the page cache, and the rows of the embedding stay there.

use std::fs::File;
use std::io::Cursor;
use std::ops::Range;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use memmap2::Mmap;

use super::ModelError;

/// Metadata keys that do not depend on the architecture.
pub mod keys {
    pub const ARCHITECTURE: &str = "general.architecture";
    pub const TOKENIZER_MODEL: &str = "tokenizer.ggml.model";
    pub const TOKENIZER_PRE: &str = "tokenizer.ggml.pre";
    pub const TOKENS: &str = "tokenizer.ggml.tokens";
    pub const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
    pub const SCORES: &str = "tokenizer.ggml.scores";
    pub const MERGES: &str = "tokenizer.ggml.merges";
    pub const BOS: &str = "tokenizer.ggml.bos_token_id";
    pub const EOS: &str = "tokenizer.ggml.eos_token_id";
    pub const EOT: &str = "tokenizer.ggml.eot_token_id";
    pub const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
    pub const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
    pub const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
}

/// Most bytes that a header may take. Vocabulary and merges of a 256k-token model take about 20 MB; a header that asks for
/// more than this is absurd, and refusing it bounds what a crafted file can make the parser allocate.
const MAX_HEADER_BYTES: usize = 64 << 20;

/// An open GGUF file.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    map: Arc<Mmap>,
    content: Content,
}

impl GgufFile {
    /// Opens the file and reads its header.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io { path: path.to_owned(), source };
        let malformed = |reason: String| ModelError::Malformed { path: path.to_owned(), reason };
        let file = File::open(path).map_err(io)?;
        // SAFETY: the model store writes files under another name and renames them when they are whole; a file that someone
        // changes in place while it is in use is as broken as one changed under a reader.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        // candle divides by `general.alignment` unchecked, so a file that says 0 panics inside the parser.
        let content = catch_unwind(|| Content::read(&mut Cursor::new(&map[..map.len().min(MAX_HEADER_BYTES)])))
            .map_err(|_| malformed("the header made the parser fail".to_owned()))?
            .map_err(|error| malformed(error.to_string()))?;
        Ok(Self { path: path.to_owned(), map: Arc::new(map), content })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `general.architecture`.
    pub fn architecture(&self) -> Result<&str, ModelError> {
        self.string(keys::ARCHITECTURE)
    }

    fn required(&self, key: &str) -> Result<&Value, ModelError> {
        self.content.metadata.get(key).ok_or_else(|| ModelError::MissingMetadata(key.to_owned()))
    }

    /// A string that must be there.
    pub fn string(&self, key: &str) -> Result<&str, ModelError> {
        match self.required(key)? {
            Value::String(text) => Ok(text),
            other => Err(wrong_type(key, "a string", other)),
        }
    }

    pub fn optional_string(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.content.metadata.get(key).map(|_| self.string(key)).transpose()
    }

    /// A non-negative whole number of any width that must be there.
    pub fn integer(&self, key: &str) -> Result<usize, ModelError> {
        let value = self.required(key)?;
        unsigned(value).ok_or_else(|| wrong_type(key, "a non-negative whole number", value))
    }

    pub fn optional_integer(&self, key: &str) -> Result<Option<usize>, ModelError> {
        self.content.metadata.get(key).map(|_| self.integer(key)).transpose()
    }

    /// A finite number that must be there.
    pub fn float(&self, key: &str) -> Result<f32, ModelError> {
        let number = match self.required(key)? {
            Value::F32(number) => *number,
            Value::F64(number) => *number as f32,
            other => return Err(wrong_type(key, "a floating-point number", other)),
        };
        if number.is_finite() {
            Ok(number)
        } else {
            Err(ModelError::InvalidMetadata { key: key.to_owned(), reason: format!("{number} is not finite") })
        }
    }

    pub fn optional_float(&self, key: &str) -> Result<Option<f32>, ModelError> {
        self.content.metadata.get(key).map(|_| self.float(key)).transpose()
    }

    pub fn optional_bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.content.metadata.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong_type(key, "a boolean", other)),
        }
    }

    /// A list of strings that must be there.
    pub fn strings(&self, key: &str) -> Result<Vec<&str>, ModelError> {
        self.array(key)?
            .iter()
            .map(|value| match value {
                Value::String(text) => Ok(text.as_str()),
                other => Err(wrong_type(key, "a list of strings", other)),
            })
            .collect()
    }

    /// A list of non-negative whole numbers that must be there.
    pub fn integers(&self, key: &str) -> Result<Vec<usize>, ModelError> {
        self.array(key)?
            .iter()
            .map(|value| unsigned(value).ok_or_else(|| wrong_type(key, "a list of non-negative whole numbers", value)))
            .collect()
    }

    /// A list of single-precision numbers that must be there.
    pub fn floats(&self, key: &str) -> Result<Vec<f32>, ModelError> {
        self.array(key)?
            .iter()
            .map(|value| match value {
                Value::F32(number) => Ok(*number),
                other => Err(wrong_type(key, "a list of single-precision numbers", other)),
            })
            .collect()
    }

    fn array(&self, key: &str) -> Result<&[Value], ModelError> {
        match self.required(key)? {
            Value::Array(values) => Ok(values),
            other => Err(wrong_type(key, "a list", other)),
        }
    }

    pub fn has_tensor(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// Shape of a tensor, outermost dimension first (rows, columns).
    pub fn tensor_shape(&self, name: &str) -> Result<&[usize], ModelError> {
        let info = self.content.tensor_infos.get(name).ok_or_else(|| ModelError::MissingTensor(name.to_owned()))?;
        Ok(info.shape.dims())
    }

    /// Reads a tensor that must have this shape.
    pub fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<QTensor, ModelError> {
        let (dtype, _) = self.place(name, shape)?;
        let mut file = Cursor::new(&self.map[..]);
        self.content.tensor(&mut file, name, device).map_err(|source| ModelError::Tensor {
            name: name.to_owned(),
            dtype,
            source,
        })
    }

    /// Type and bytes of a tensor that must have this shape, as they lie in the file.
    pub fn tensor_bytes(&self, name: &str, shape: &[usize]) -> Result<(GgmlDType, MappedBytes), ModelError> {
        let (dtype, range) = self.place(name, shape)?;
        Ok((dtype, MappedBytes { map: Arc::clone(&self.map), range }))
    }

    /// Where a tensor that must have this shape lies in the file.
    fn place(&self, name: &str, shape: &[usize]) -> Result<(GgmlDType, Range<usize>), ModelError> {
        let info = self.content.tensor_infos.get(name).ok_or_else(|| ModelError::MissingTensor(name.to_owned()))?;
        let (found, dtype) = (info.shape.dims(), info.ggml_dtype);
        if found != shape {
            return Err(ModelError::TensorShape {
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: found.to_vec(),
            });
        }
        let elements = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        let range = elements.filter(|elements| elements.is_multiple_of(dtype.block_size())).and_then(|elements| {
            let bytes = (elements / dtype.block_size()).checked_mul(dtype.type_size())?;
            let start = usize::try_from(self.content.tensor_data_offset.checked_add(info.offset)?).ok()?;
            Some(start..start.checked_add(bytes)?)
        });
        match range.filter(|range| range.end <= self.map.len()) {
            Some(range) => Ok((dtype, range)),
            None => Err(ModelError::Malformed {
                path: self.path.clone(),
                reason: format!("the tensor `{name}` reaches beyond the end of the file"),
            }),
        }
    }
}

/// Part of a mapped file.
#[derive(Clone, Debug)]
pub struct MappedBytes {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl MappedBytes {
    /// Takes the bytes out of the process's resident memory; the next use reads them from the page cache again.
    pub fn release(&self) {
        #[cfg(unix)]
        // SAFETY: the mapping is of a file and never written, so dropped pages come back with the same content.
        if let Err(error) = unsafe {
            self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, self.range.start, self.range.len())
        } {
            tracing::debug!(%error, "mapped weights stay resident");
        }
    }
}

impl std::ops::Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

fn unsigned(value: &Value) -> Option<usize> {
    match value {
        Value::U8(number) => Some(usize::from(*number)),
        Value::U16(number) => Some(usize::from(*number)),
        Value::U32(number) => usize::try_from(*number).ok(),
        Value::U64(number) => usize::try_from(*number).ok(),
        Value::I8(number) => usize::try_from(*number).ok(),
        Value::I16(number) => usize::try_from(*number).ok(),
        Value::I32(number) => usize::try_from(*number).ok(),
        Value::I64(number) => usize::try_from(*number).ok(),
        Value::F32(_) | Value::F64(_) | Value::Bool(_) | Value::String(_) | Value::Array(_) => None,
    }
}

fn wrong_type(key: &str, expected: &str, found: &Value) -> ModelError {
    ModelError::InvalidMetadata {
        key: key.to_owned(),
        reason: format!("expected {expected}, found {:?}", found.value_type()),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::runtime::model::testing::{ARCHITECTURES, TinyModel};
    use crate::runtime::model::{KvSettings, load};

    fn refusal(path: &Path) -> ModelError {
        load(path, &Device::Cpu, KvSettings::blocks(2)).err().expect("refusal")
    }

    fn refusal_of(bytes: &[u8]) -> ModelError {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("model.gguf");
        std::fs::write(&path, bytes).expect("written");
        refusal(&path)
    }

    fn refusal_after(architecture: &'static str, change: impl FnOnce(&mut TinyModel)) -> String {
        let mut model = TinyModel::new(architecture);
        change(&mut model);
        let (_directory, path) = model.write();
        refusal(&path).to_string()
    }

    fn header(tensors: u64, entries: u64) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes
    }

    #[test]
    fn a_whole_file_loads() {
        for architecture in ARCHITECTURES {
            let (_directory, path) = TinyModel::new(architecture).write();
            let model = load(&path, &Device::Cpu, KvSettings::blocks(2)).expect("model");
            assert_eq!((model.info.name.as_str(), model.info.architecture.as_str()), ("tiny", architecture));
            assert_eq!(model.info.context_length, 256);
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let path = Path::new("/nowhere/model.gguf");
        assert!(refusal(path).to_string().contains("/nowhere/model.gguf"));
    }

    #[test]
    fn a_truncated_file_is_refused_wherever_it_ends() {
        let (_directory, path) = TinyModel::new("qwen2").write();
        let bytes = std::fs::read(&path).expect("bytes");
        for length in (0..bytes.len() - 32).step_by(997).chain([0, 1, 4, 8, 24, 25]) {
            let error = refusal_of(&bytes[..length]);
            assert!(matches!(error, ModelError::Malformed { .. } | ModelError::Tensor { .. }), "{length}: {error}");
        }
    }

    #[test]
    fn absurd_headers_are_refused() {
        let alignment_zero = {
            let mut bytes = header(0, 1);
            bytes.extend(17_u64.to_le_bytes());
            bytes.extend(b"general.alignment");
            bytes.extend([4_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat());
            bytes
        };
        let endless_string = [header(0, 1), u64::MAX.to_le_bytes().to_vec(), vec![0; 64]].concat();
        for bytes in [header(u64::MAX, 0), header(1 << 29, 0), header(0, u64::MAX), endless_string, alignment_zero] {
            let error = refusal_of(&bytes);
            assert!(matches!(error, ModelError::Malformed { .. }), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn random_bytes_are_refused(tail in proptest::collection::vec(any::<u8>(), 0..512), headed in any::<bool>()) {
            let bytes = if headed { [header(1, 1), tail].concat() } else { tail };
            refusal_of(&bytes);
        }

        #[test]
        fn a_flipped_header_byte_never_panics(at in 0_usize..2048, value in any::<u8>()) {
            let (_directory, path) = TinyModel::new("llama").write();
            let mut bytes = std::fs::read(&path).expect("bytes");
            bytes[at] = value;
            std::fs::write(&path, bytes).expect("written");
            drop(load(&path, &Device::Cpu, KvSettings::blocks(2)));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for key in [keys::ARCHITECTURE, keys::TOKENS, "qwen2.block_count", "qwen2.attention.layer_norm_rms_epsilon"] {
            let message = refusal_after("qwen2", |model| model.remove(key));
            assert!(message.contains(key), "{message}");
        }
        for name in ["token_embd.weight", "output_norm.weight", "blk.1.attn_k.bias", "blk.0.ffn_down.weight"] {
            let message = refusal_after("qwen2", |model| model.remove_tensor(name));
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let integer = Value::U32;
        for (key, value, part) in [
            (keys::ARCHITECTURE, Value::String("mamba".to_owned()), "mamba"),
            ("qwen2.attention.head_count", integer(0), "must not be 0"),
            ("qwen2.attention.head_count", Value::String("four".to_owned()), "whole number"),
            ("qwen2.attention.head_count_kv", integer(3), "cannot share 3"),
            ("qwen2.attention.head_count", integer(8), "multiple of 16"),
            ("qwen2.embedding_length", integer(128), "token_embd.weight"),
            ("qwen2.block_count", integer(3), "blk.2."),
            ("qwen2.expert_count", integer(8), "experts"),
            ("qwen2.rope.scaling.type", Value::String("yarn".to_owned()), "yarn"),
            ("qwen2.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN), "finite"),
        ] {
            let message = refusal_after("qwen2", |model| model.set(key, value));
            assert!(message.contains(part), "{key}: {message}");
        }
    }

    #[test]
    fn what_only_some_architectures_have_is_named_as_well() {
        for (architecture, tensor) in [
            ("qwen3", "blk.0.attn_q_norm.weight"),
            ("qwen3", "blk.1.attn_k_norm.weight"),
            ("gemma3", "blk.0.post_attention_norm.weight"),
            ("gemma3", "blk.1.post_ffw_norm.weight"),
        ] {
            let message = refusal_after(architecture, |model| model.remove_tensor(tensor));
            assert!(message.contains(tensor), "{message}");
        }
        let window = refusal_after("gemma3", |model| model.remove("gemma3.attention.sliding_window"));
        assert!(window.contains("gemma3.attention.sliding_window"), "{window}");
        let integer = Value::U32;
        for (architecture, key, value, part) in [
            ("qwen3", "qwen3.attention.key_length", integer(24), "multiple of 16"),
            ("qwen3", "qwen3.attention.key_length", integer(48), "only the head size"),
            ("qwen3", "qwen3.attention.value_length", integer(16), "only the head size"),
            ("gemma3", "gemma3.attention.sliding_window", integer(0), "must not be 0"),
            ("gemma3", "gemma3.attention.sliding_window_pattern", integer(0), "must not be 0"),
            ("gemma3", "gemma3.rope.freq_base_swa", Value::F32(-1.0), "not positive"),
            ("gemma3", "gemma3.rope.scaling.factor", Value::F32(0.0), "not positive"),
            ("gemma3", "gemma3.final_logit_softcapping", Value::F32(30.0), "capped"),
        ] {
            let message = refusal_after(architecture, |model| model.set(key, value));
            assert!(message.contains(part), "{key}: {message}");
        }
    }

    #[test]
    fn a_store_without_room_for_a_block_is_refused() {
        let (_directory, path) = TinyModel::new("qwen2").write();
        for blocks in [0, usize::MAX] {
            let error = load(&path, &Device::Cpu, KvSettings::blocks(blocks)).err().expect("refusal");
            assert!(matches!(error, ModelError::KvStore(_)), "{error}");
        }
    }
}
