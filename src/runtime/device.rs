//! Where the models compute.

use candle_core::Device;

use super::model::ModelError;
use crate::domain::DeviceKind;

/// Opens the configured device. `auto` takes CUDA, then Metal, when built in and present, else the CPU.
///
/// # Errors
/// The device is named and not there, or this binary was built without it.
pub fn open(kind: DeviceKind) -> Result<Device, ModelError> {
    Ok(match kind {
        DeviceKind::Cpu => Device::Cpu,
        DeviceKind::Cuda => Device::new_cuda(0)?,
        DeviceKind::Metal => Device::new_metal(0)?,
        DeviceKind::Auto if candle_core::utils::cuda_is_available() => Device::new_cuda(0)?,
        DeviceKind::Auto if candle_core::utils::metal_is_available() => Device::new_metal(0)?,
        DeviceKind::Auto => Device::Cpu,
    })
}
