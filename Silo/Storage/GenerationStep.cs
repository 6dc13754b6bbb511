using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Runtime;
using Orleans.Storage;
using Pollux.Grains;
using Pollux.Grains.Core;
using Pollux.Grains.State;

namespace Pollux.Silo.Storage;

/// <summary>Reads the generation of the control plane before the silo takes calls, and begins a new one if the database was declared restored.</summary>
/// <remarks>One silo declares, while no other runs: one that runs finds out when it is asked for something, and grants nothing any more. A crash may come after the write, and
/// the declaration be repeated: each is a generation of its own, and what was recovered before is recovered again from the hosts' reports.</remarks>
internal sealed partial class GenerationStep(IServiceProvider services, ControlGeneration generation, ILogger<GenerationStep> log, bool restored)
{
    private static readonly GrainId Row = GrainId.Create("pollux.control", "control");

    public async Task RunAsync()
    {
        var storage = services.GetRequiredKeyedService<IGrainStorage>(SiloStorage.Name);
        var row = new GrainState<ControlState>();
        await storage.ReadStateAsync(GrainStateNames.Control, Row, row);
        var state = row.State ?? new ControlState();
        if (restored)
        {
            row.State = state = state with { Generation = checked(state.Generation + 1) };
            await storage.WriteStateAsync(GrainStateNames.Control, Row, row);
            LogDeclared(state.Generation);
        }
        generation.Set(state.Generation, async () =>
        {
            var now = new GrainState<ControlState>();
            await storage.ReadStateAsync(GrainStateNames.Control, Row, now);
            return now.State?.Generation ?? 0;
        });
    }

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "The database is declared restored: nothing is granted until the hosts have reported generation={Generation}")]
    private partial void LogDeclared(long generation);
}
