using Microsoft.Extensions.Hosting;

namespace Pollux.Silo.Storage;

/// <summary>Runs after the embedded host has opened its storage and before the services behind it, which bring calls from outside.</summary>
internal sealed class GenerationStage(GenerationStep step) : IHostedService
{
    public Task StartAsync(CancellationToken cancellationToken) => step.RunAsync();

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
