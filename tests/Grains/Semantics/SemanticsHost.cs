using Microsoft.Extensions.DependencyInjection;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.Semantics;

/// <summary>The host of the semantics tests. Tests use keys of their own, so they may share it and its probe.</summary>
public sealed class SemanticsHost : GrainHostFixture
{
    public Probe Probe { get; } = new();

    public static string NewKey() => $"key-{Guid.NewGuid():N}";

    protected override void Configure(TestGrainHostOptions options) => options.Services = services => services.AddSingleton(Probe);
}

/// <summary>Tests that need a host of their own.</summary>
public static class OwnHost
{
    public static Task<TestGrainHost> StartAsync(Probe probe, Action<TestGrainHostOptions>? configure = null) => TestGrainHost.StartAsync(options =>
    {
        options.Services = services => services.AddSingleton(probe);
        configure?.Invoke(options);
    });
}
