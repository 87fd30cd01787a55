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
        DeviceKind::Auto => first_present(&[
            Accelerator { built_in: cfg!(feature = "cuda"), open: Device::new_cuda },
            Accelerator { built_in: cfg!(feature = "metal"), open: Device::new_metal },
        ]),
    })
}

struct Accelerator {
    built_in: bool,
    open: fn(usize) -> candle_core::Result<Device>,
}

/// Whether a machine has what is built in is known only by opening it.
fn first_present(accelerators: &[Accelerator]) -> Device {
    for accelerator in accelerators.iter().filter(|accelerator| accelerator.built_in) {
        match (accelerator.open)(0) {
            Ok(device) => return device,
            Err(error) => tracing::warn!(%error, "an accelerator is built in and cannot be opened"),
        }
    }
    Device::Cpu
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accelerator_that_is_not_there_leaves_the_cpu() {
        let absent = |built_in| Accelerator { built_in, open: |_| candle_core::bail!("no card") };
        assert!(first_present(&[absent(true), absent(false)]).is_cpu());
    }

    #[test]
    fn what_is_not_built_in_is_not_opened() {
        let never = Accelerator { built_in: false, open: |_| panic!("opened") };
        assert!(first_present(&[never]).is_cpu());
    }
}
