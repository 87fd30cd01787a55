use serde::{Deserialize, Serialize};

/// Where the models compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// CUDA or Metal when built in and present, else the CPU.
    Auto,
    Cpu,
    Cuda,
    Metal,
}
