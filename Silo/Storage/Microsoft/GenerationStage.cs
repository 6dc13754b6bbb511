using Orleans;
using Orleans.Runtime;

namespace Pollux.Silo.Storage;

/// <summary>After the storage has opened, before the silo is active.</summary>
internal sealed class GenerationStage(GenerationStep step) : ILifecycleParticipant<ISiloLifecycle>
{
    public void Participate(ISiloLifecycle observer) =>
        observer.Subscribe(nameof(GenerationStage), ServiceLifecycleStage.ApplicationServices + 1, _ => step.RunAsync());
}
