using System.Runtime.Versioning;

// A lab takes both cores and much memory of a small machine: one at a time, so that its times mean something.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
[assembly: SupportedOSPlatform("linux")]
