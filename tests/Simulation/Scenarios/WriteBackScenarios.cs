using Pollux.DataPlane.Core.Roles;
using Pollux.Tests.Simulation.Model;

namespace Pollux.Tests.Simulation.Scenarios;

/// <summary>The kernel fails to write pages of several files, and tells each file's error once, to a flush.</summary>
public sealed class WriteBackScenarios
{
    /// <summary>Two files, and everything.</summary>
    private const int Errors = 3;

    [Theory]
    [InlineData(true, 1)]
    [InlineData(true, 2)]
    [InlineData(false, 3)]
    [InlineData(false, 4)]
    public void Errors_of_several_files_cost_two_pauses_at_most(bool ofThePrimary, ulong seed) => PairStory.Tell(seed, story =>
    {
        var host = ofThePrimary ? story.Primary : story.Secondary;
        story.Until("pages of several files are lost", () =>
        {
            if (host.Machine?.View is { Role: Role.Prim or Role.Second, Ready: true })
                host.Disk.FailWriteback(Linux.EIO, story.World.Choose);
            return host.Disk.UntoldErrors == Errors;
        }, 600_000);
        var (faults, faulty) = (0, false);
        story.Until("all errors are told and the pair is whole", () =>
        {
            var now = host.Machine?.View.Code == RoleCodes.LocalFault.Code;
            faults += now && !faulty ? 1 : 0;
            faulty = now;
            return host.Disk.UntoldErrors == 0 && SimulationRun.Whole(story.World);
        }, 600_000);
        Truth.Require(faults is 1 or 2, $"{faults} pauses for the errors of one moment.");
    });
}
