//! Where the models compute.

use candle_core::Device;

use crate::config;

/// Opens the configured device. `auto` takes CUDA, then Metal, when built in and present, else the CPU.
///
/// # Errors
/// The device is named and not there, or this binary was built without it.
pub fn open(kind: config::Device) -> candle_core::Result<Device> {
    match kind {
        config::Device::Cpu => Ok(Device::Cpu),
        config::Device::Cuda => Device::new_cuda(0),
        config::Device::Metal => Device::new_metal(0),
        config::Device::Auto => {
            if candle_core::utils::cuda_is_available() {
                Device::new_cuda(0)
            } else if candle_core::utils::metal_is_available() {
                Device::new_metal(0)
            } else {
                Ok(Device::Cpu)
            }
        }
    }
}
